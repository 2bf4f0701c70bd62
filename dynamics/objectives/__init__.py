"""What is trained: losses, regularisers, and the objective that laws move."""
