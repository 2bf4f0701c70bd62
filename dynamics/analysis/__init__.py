"""What is computed from arrays: measures of attention, fits, curvature, conserved quantities, hard margins."""
