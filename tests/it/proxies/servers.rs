//! Reverse proxies as child processes, each on a free port of the loopback, with its files in a
//! temporary folder. Dropping the value stops the process.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::poll_until;

/// The number of ports to try if another process takes a port first.
const ATTEMPTS: usize = 10;

/// A running reverse proxy.
pub(super) struct Proxy {
    process: Child,
    port: u16,
    folder: tempfile::TempDir,
}

/// A program to start, with placeholders.
struct Server {
    /// The possible paths of the program.
    programs: &'static [&'static str],
    package: &'static str,
    config: String,
    arguments: &'static [&'static str],
    /// Whether the server with this folder listens.
    ready: fn(&Path) -> bool,
}

impl Proxy {
    /// Starts nginx with this `http` block, in which `LISTEN` stands for the address and `FOLDER`
    /// for the folder. All other settings are nginx's defaults.
    pub(super) async fn nginx(http: &str) -> Self {
        let places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path FOLDER/{name};"))
            .join("\n");
        // A single process, which stops with the test.
        let config = format!(
            "daemon off; master_process off; pid FOLDER/nginx.pid;\n\
             error_log FOLDER/log info;\nevents {{}}\n\
             http {{\naccess_log off;\n{places}\n{http}\n}}\n"
        );
        Self::start(&Server {
            programs: &["/usr/sbin/nginx", "/usr/bin/nginx"],
            package: "nginx-light",
            config,
            arguments: &["-e", "FOLDER/log", "-p", "FOLDER", "-c", "FOLDER/config"],
            ready: |folder| fs::metadata(folder.join("nginx.pid")).is_ok_and(|pid| pid.len() > 0),
        })
        .await
    }

    /// Starts Caddy with these directives of one site, in which `FOLDER` stands for the folder.
    pub(super) async fn caddy(site: &str) -> Self {
        let config = format!(
            "{{\n\tadmin off\n\tauto_https off\n}}\n\
             http://:PORT {{\nbind 127.0.0.1\n{site}\n}}\n"
        );
        Self::start(&Server {
            programs: &["/usr/bin/caddy"],
            package: "caddy",
            config,
            arguments: &["run", "--adapter", "caddyfile", "--config", "FOLDER/config"],
            ready: |folder| read_log(folder).contains("serving initial configuration"),
        })
        .await
    }

    async fn start(server: &Server) -> Self {
        let program = server.programs.iter().map(Path::new).find(|program| program.exists());
        let program =
            program.unwrap_or_else(|| panic!("install {}, as scripts/test does", server.package));
        for _ in 0..ATTEMPTS {
            let folder = tempfile::tempdir().unwrap();
            let port = free_port();
            let fill = |text: &str| {
                text.replace("FOLDER", folder.path().to_str().unwrap())
                    .replace("LISTEN", &format!("127.0.0.1:{port}"))
                    .replace("PORT", &port.to_string())
            };
            fs::write(folder.path().join("config"), fill(&server.config)).unwrap();
            let mut process = Command::new(program)
                .args(server.arguments.iter().map(|argument| fill(argument)))
                .env("HOME", folder.path())
                .env("XDG_CONFIG_HOME", folder.path())
                .env("XDG_DATA_HOME", folder.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(fs::File::create(folder.path().join("log")).unwrap())
                .spawn()
                .unwrap();
            let listens = poll_until("the proxy listens or gives up", async || {
                let has_ended = process.try_wait().unwrap().is_some();
                (has_ended || (server.ready)(folder.path())).then_some(!has_ended)
            })
            .await;
            if listens {
                return Self { process, port, folder };
            }
            let log = read_log(folder.path());
            let is_taken = log.to_ascii_lowercase().contains("address already in use");
            assert!(is_taken, "the proxy does not start: {log}");
        }
        panic!("no port stays free");
    }

    /// `127.0.0.1` and the port.
    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The server's log, for the message of a failed test.
    pub(super) fn log(&self) -> String {
        read_log(self.folder.path())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn read_log(folder: &Path) -> String {
    fs::read_to_string(folder.join("log")).unwrap_or_default()
}
