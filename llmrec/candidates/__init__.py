"""Who is ranked against whom, and what is rejected: draws that never know the target."""
