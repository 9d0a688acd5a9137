"""What can be said of a text by itself: language, personal data."""
