//! The login service of the blog: a real one, or the emulator.

use std::env;

use activeconnect_emulator::{Emulator, StartError};
use tower_activeconnect::{Activeconnect, Credentials, UserId};

use crate::database::Database;

const SERVER_VARIABLES: [&str; 2] = ["ACTIVE_CONNECT_SERVER", "IAMPASS_SERVER"];
const APPLICATION_VARIABLES: [&str; 4] = [
    "ACTIVE_CONNECT_APPLICATION_ID",
    "ACTIVE_CONNECT_APPLICATION_SECRET",
    "IAMPASS_APPLICATION_ID",
    "IAMPASS_APPLICATION_SECRET",
];

pub(crate) enum Service {
    /// The service that the environment variables name.
    Configured(Credentials),
    /// The blog's own emulator, which stops when this is dropped.
    Emulated(Emulator),
}

impl Service {
    /// The configured service, or an emulator that listens at `emulator`.
    pub(crate) async fn choose(emulator: &str) -> Result<Self, String> {
        if SERVER_VARIABLES.iter().any(|name| is_set(name)) {
            let credentials = Credentials::from_env().map_err(|error| format!("{error:?}"))?;
            return Ok(Self::Configured(credentials));
        }
        if let Some(name) = APPLICATION_VARIABLES.iter().find(|name| is_set(name)) {
            eprintln!(
                "microblog: {name} is set without a server, so the blog uses the emulator; to use a \
                service, also set ACTIVE_CONNECT_SERVER or IAMPASS_SERVER"
            );
        }
        let started = Emulator::builder().listen(emulator).start().await;
        started.map(Self::Emulated).map_err(|error| match error {
            StartError::Bind { .. } => format!(
                "the emulator: {error}: --emulator 127.0.0.1:0. Or, to use an emulator or a \
                 service that runs already, set ACTIVE_CONNECT_SERVER, \
                 ACTIVE_CONNECT_APPLICATION_ID and ACTIVE_CONNECT_APPLICATION_SECRET"
            ),
            error => format!("the emulator: {error:?}"),
        })
    }

    pub(crate) fn credentials(&self) -> Result<Credentials, String> {
        match self {
            Self::Configured(credentials) => Ok(credentials.clone()),
            Self::Emulated(emulator) => {
                let secret = emulator.application_secret().clone();
                Credentials::new(emulator.application_id(), secret)
                    .and_then(|credentials| credentials.with_server(emulator.url()))
                    .map_err(|error| error.to_string())
            }
        }
    }

    /// Enrolls the blog's users at the emulator, which starts without users. A real service keeps its
    /// users.
    pub(crate) async fn enroll_users(
        &self,
        ac: &Activeconnect,
        database: &Database,
    ) -> Result<(), String> {
        if !matches!(self, Self::Emulated(_)) {
            return Ok(());
        }
        let names = database.registered_users().await.map_err(|error| error.to_string())?;
        let users: Vec<UserId> = names.iter().map(UserId::from).collect();
        ac.enroll_many(users, |_, _| ()).await.map_err(|error| format!("{error:?}"))?;
        for name in names {
            self.set_phone_label(database, &name).await;
        }
        Ok(())
    }

    /// Sets the name that the emulated phone shows instead of the token. A real service does not get
    /// the name.
    pub(crate) async fn set_phone_label(&self, database: &Database, name: &str) {
        let Self::Emulated(emulator) = self else { return };
        let result = match database.token(name).await {
            Ok(Some(token)) => emulator.set_label(&token, name).map_err(|error| error.to_string()),
            Ok(None) => Ok(()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = result {
            eprintln!("microblog: cannot set the name {name:?} on the phone: {error}");
        }
    }

    /// The instructions that the blog prints at its start.
    pub(crate) fn instructions(&self, blog: &str) -> String {
        match self {
            Self::Configured(credentials) => {
                let service = credentials.server_url();
                format!(
                    "the blog:    {blog}\n\
                     the service: {service}\n\
                     Register at {blog}/register, open the link of the page on your phone, and \
                     log in at {blog}/\n"
                )
            }
            Self::Emulated(emulator) => {
                let phone = format!("{}/emulator", emulator.url());
                format!(
                    "the blog:  {blog}\n\
                     the phone: {phone}\n\
                     \n\
                     1. Register at {blog}/register and open the link on the page: the emulated \
                     phone is now yours.\n\
                     2. Log in at {blog}/ and press \"approve\" on the phone's page.\n\
                     3. Write a post. Then press \"walk away\", \"return\" and \"close\" on the \
                     phone's page and watch the blog.\n\
                     The emulator forgets all phones when the blog stops. After a restart press \
                     \"register device\" on the phone's page before you log in.\n"
                )
            }
        }
    }
}

/// Whether a variable is set and not empty, as in `Credentials::from_env`.
fn is_set(name: &str) -> bool {
    env::var_os(name).is_some_and(|value| !value.is_empty())
}
