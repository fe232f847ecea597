"""One module for each shipped checkpoint or record: ``python -m recipes.NAME``.

Every recipe can be stopped and started again; finished parts are kept under ``runs/NAME``. One that
ships a checkpoint ends by writing ``weights/NAME`` and the course of the training to
``records/NAME.json``; called again, it writes both again without training.
"""
