"""One module for each shipped checkpoint or record: ``python -m recipes.NAME``.

Every recipe can be stopped and started again; finished parts are kept under ``runs/NAME``.
"""
