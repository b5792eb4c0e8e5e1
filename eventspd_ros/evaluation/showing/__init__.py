"""Results, and answers, as text, pages and pictures."""
