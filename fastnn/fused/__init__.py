"""The compiled engine. Start reading at ``program.py``; ``tiles.py`` has the kernels."""
