"""Sources, splits, parts, snapshots, cards and reports."""
