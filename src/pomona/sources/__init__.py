"""Where images come from: finding them, reading them, making them pixels."""
