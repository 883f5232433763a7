"""What is learned: prompt, chosen and rejected answers, with a card; in the forms that trainers read."""
