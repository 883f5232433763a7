"""What the model reads: templates, and the one encoding that trains and scores."""
