//! The emulator's control interface.

mod labels;
