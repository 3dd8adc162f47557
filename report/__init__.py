"""What turns finished trainings into a report: measures, figures, digests, runs side by side."""

from pathlib import Path

import platformdirs


def trainings_folder() -> Path:
    """Return where finished trainings lie that are remembered; it need not exist."""
    return platformdirs.user_cache_path("tdt4265-assignment2", appauthor=False) / "trainings"
