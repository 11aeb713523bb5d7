//! Record batch v2: header view, iterator, builder and compression.
