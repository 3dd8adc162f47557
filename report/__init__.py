"""What turns finished trainings into a report: measures, figures, digests, runs side by side."""
