//! expertile
