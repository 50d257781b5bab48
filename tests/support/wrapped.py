"""How tests/runtime/checks.c is linked, so that it sees what the library allocates."""

NAMES = ("malloc", "calloc", "realloc", "aligned_alloc", "free", "mmap", "munmap", "pthread_create")
WRAP = "-Wl," + ",".join(f"--wrap={name}" for name in NAMES)
