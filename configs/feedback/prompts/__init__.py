"""Prompt templates of the feedback pipeline."""
