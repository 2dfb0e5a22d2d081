"""Where voxels lie: numbers, affines, grids, orientation, transforms of the world. Only the transforms need JAX."""
