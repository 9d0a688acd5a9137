"""Rules of the feedback pipeline."""
