"""Operations that move voxels: plans, their execution, the chain that waits, and a file for each operation."""
