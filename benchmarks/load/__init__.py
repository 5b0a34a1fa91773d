"""Load: `pomona serve` under more requests than it can answer, beside what it could reach."""
