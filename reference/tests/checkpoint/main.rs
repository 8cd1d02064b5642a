//! Checkpoints: the golden ones load, and hostile ones are refused in one line.

mod config;
mod folder;
mod forge;
mod golden;
mod header;
mod tokenizer;
mod values;
