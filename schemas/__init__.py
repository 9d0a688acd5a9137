"""What the data is: Arrow schemas and small frozen records. Imports nothing else of the project."""
