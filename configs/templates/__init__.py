"""Templates of the report and the dataset card."""
