"""AWS: the account, what may hold data in it, what jobs need, and what they cost."""
