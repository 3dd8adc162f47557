"""What turns trainings into a report: runs side by side and remembered, measures, answers with
their facts and tables, figures, what others have published, digests.
"""

from pathlib import Path

import platformdirs


def trainings_folder() -> Path:
    """Return where finished trainings lie that are remembered; it need not exist.

    It stands here since handin.py asks for it, and needs nothing else of a training.
    """
    return platformdirs.user_cache_path("tdt4265-assignment2", appauthor=False) / "trainings"
