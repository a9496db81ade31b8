"""What differs between two saved runs: compared case by case, grouped by cause, told, and drawn; without torch."""
