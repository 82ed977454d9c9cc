//! Which service the blog's users log in through.

use std::env;

use activeconnect_emulator::{Emulator, StartError};
use tower_activeconnect::{Activeconnect, Credentials, UserId};

use crate::database::Database;

const SERVERS: [&str; 2] = ["ACTIVE_CONNECT_SERVER", "IAMPASS_SERVER"];
const APPLICATIONS: [&str; 4] = [
    "ACTIVE_CONNECT_APPLICATION_ID",
    "ACTIVE_CONNECT_APPLICATION_SECRET",
    "IAMPASS_APPLICATION_ID",
    "IAMPASS_APPLICATION_SECRET",
];

pub(crate) enum Service {
    /// The one that the environment names.
    Named(Credentials),
    /// The blog's own; it stops when this is dropped.
    Emulated(Emulator),
}

impl Service {
    pub(crate) async fn choose(emulator: &str) -> Result<Self, String> {
        if SERVERS.iter().any(|name| is_set(name)) {
            let credentials = Credentials::from_env().map_err(|error| format!("{error:?}"))?;
            return Ok(Self::Named(credentials));
        }
        if let Some(name) = APPLICATIONS.iter().find(|name| is_set(name)) {
            eprintln!(
                "microblog: {name} is set but no server is: using the emulator; to use a service, \
                 set ACTIVE_CONNECT_SERVER or IAMPASS_SERVER too"
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
            Self::Named(credentials) => Ok(credentials.clone()),
            Self::Emulated(emulator) => {
                let secret = emulator.application_secret().clone();
                Credentials::new(emulator.application_id(), secret)
                    .and_then(|credentials| credentials.with_server(emulator.url()))
                    .map_err(|error| error.to_string())
            }
        }
    }

    /// Makes the users known to an emulator that has just begun and knows no user. Another service
    /// knows them.
    pub(crate) async fn introduce_users(
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
            self.label(database, &name).await;
        }
        Ok(())
    }

    /// Has the emulated phone show the user's name, where it knows the user's token only. Another
    /// service is told no name.
    pub(crate) async fn label(&self, database: &Database, name: &str) {
        let Self::Emulated(emulator) = self else { return };
        let labelled = match database.token(name).await {
            Ok(Some(token)) => emulator.set_label(&token, name).map_err(|error| error.to_string()),
            Ok(None) => Ok(()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = labelled {
            eprintln!("microblog: the phone does not show the name {name:?}: {error}");
        }
    }

    /// What to tell who started the blog.
    pub(crate) fn what_next(&self, blog: &str) -> String {
        match self {
            Self::Named(credentials) => {
                let service = credentials.server_url();
                format!(
                    "the blog:    {blog}\n\
                     the service: {service}\n\
                     Register at {blog}/register, open the link that is shown on your phone, and \
                     log in at {blog}/\n"
                )
            }
            Self::Emulated(emulator) => {
                let phone = format!("{}/emulator", emulator.url());
                format!(
                    "the blog:  {blog}\n\
                     the phone: {phone}\n\
                     \n\
                     1. Register at {blog}/register and open the link that is shown: the emulated \
                     phone is yours.\n\
                     2. Log in at {blog}/ and press \"approve\" on the phone's page.\n\
                     3. Write a post. Then press \"walk away\", \"return\" and \"close\" on the \
                     phone's page and watch the blog.\n\
                     The emulator forgets every phone when the blog stops. After a restart press \
                     \"register device\" on the phone's page before you log in.\n"
                )
            }
        }
    }
}

/// As `Credentials::from_env` has it: what is empty is not set.
fn is_set(name: &str) -> bool {
    env::var_os(name).is_some_and(|value| !value.is_empty())
}
