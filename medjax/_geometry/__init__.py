"""Where voxels lie: numbers, affines, the lattice, orientation, transforms of the world. No JAX but in the transforms."""
