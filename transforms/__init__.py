"""How data changes: pure functions on tables, with a thin Beam shell where one is needed."""
