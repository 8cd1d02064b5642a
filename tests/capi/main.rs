//! The C ABI. Header and installation need no device; without a simulated one the rest has nothing to
//! ask, and `EXPERTILE_REQUIRE=simulated` makes that a failure.

mod header;
