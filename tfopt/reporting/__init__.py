"""What people read of a result: an HTML page, a model card, two results side by side."""
