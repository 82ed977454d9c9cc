//! The emulator: the service, its faults, its control interface, the program.

mod faults;
mod labels;
mod program;
mod service;
