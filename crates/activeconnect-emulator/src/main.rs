//! An emulator of the Activeconnect service and the phone on the loopback. Never use it in production.

use std::error::Error;
use std::io::{self, Write as _};
use std::iter::successors;
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::time::Duration;

use activeconnect_emulator::{AcceptedDialects, Emulator};
use clap::Parser;

/// Emulates the Activeconnect service and the phone on the loopback. Never use it in production.
#[derive(Parser)]
#[command(name = "activeconnect-emulator")]
struct Arguments {
    /// Loopback address and port; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8099")]
    listen: String,
    /// Id of the application that may call
    #[arg(long, value_name = "ID")]
    application_id: String,
    /// Secret with which the application signs
    #[arg(long, value_name = "SECRET")]
    application_secret: String,
    /// Accepted signature dialects: activeconnect, iampass, documented or any
    #[arg(long, default_value_t)]
    dialect: AcceptedDialects,
    /// Seconds until a pending session times out
    #[arg(long, value_name = "SECONDS", default_value = "60")]
    pending_timeout: NonZeroU32,
    /// Largest accepted clock difference of a signature, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    clock_tolerance: u32,
    /// Return the status in the documented flat form
    #[arg(long)]
    flat_status: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let causes = successors(error.source(), |&cause| cause.source());
            let causes: String = causes.map(|cause| format!(": {cause}")).collect();
            eprintln!("activeconnect-emulator: {error}{causes}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let emulator = Emulator::builder()
            .listen(arguments.listen)
            .application(arguments.application_id, arguments.application_secret)
            .dialect(arguments.dialect)
            .pending_timeout(Duration::from_secs(arguments.pending_timeout.get().into()))
            .clock_tolerance(Duration::from_secs(arguments.clock_tolerance.into()))
            .flat_status(arguments.flat_status)
            .start()
            .await?;
        // The parent process waits for the line, also through a pipe.
        let mut stdout = io::stdout();
        writeln!(stdout, "listening on {}", emulator.url())?;
        stdout.flush()?;
        emulator.run().await?;
        Ok(())
    })
}
