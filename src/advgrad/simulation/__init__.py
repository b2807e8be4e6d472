"""The teacher-student simulations behind LinBP's theory, in float64 (arXiv 2112.11018, Sections 3 and 4.1)."""
