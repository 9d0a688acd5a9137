"""Turns, judging, implicit mining, refusal validation, filters and labels."""
