"""What is done with documents: rejected rows."""
