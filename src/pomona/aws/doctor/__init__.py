"""Doctor: whether an account holds what the template says. It reads, and changes nothing."""
