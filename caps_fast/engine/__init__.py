"""The kernel: exact continuous batching by leaps, over arrays. Read `loop`, then `gpu`, `ledger`, `control`."""
