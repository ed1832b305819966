//! Many clients at a time, and a system that allows few open files.

use std::path::Path;
use std::process::{Command, Stdio};

use wire::resp::Value;

use crate::client::Client;
use crate::cluster::{Process, free_ports, synod, wait_for};

/// Starts a node for 600 clients in a shell that first runs `limit`.
fn start(dir: &Path, port: u16, limit: &str) -> Process {
    let own = synod();
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{limit} && exec \"$0\" \"$@\"")]).arg(own.get_program());
    for (name, _) in own.get_envs() {
        command.env_remove(name);
    }
    command.args(["serve", "--until-stdin-ends", "--maxclients", "600"]);
    command.args(["--listen", &format!("127.0.0.1:{port}"), "--data"]).arg(dir.join("data"));
    Process::start(command.stdin(Stdio::piped()), &dir.join("log"))
}

/// Connects until a client is turned away, or there are as many as wanted.
fn connect(port: u16, wanted: usize) -> Vec<Client> {
    let addr = format!("127.0.0.1:{port}");
    wait_for("the node", || Client::connect(&addr).ok()?.call(&["PING"]).ok());
    let mut clients = Vec::new();
    while clients.len() < wanted {
        let mut client = Client::connect(&addr).unwrap();
        match client.call(&["PING"]) {
            Ok(Value::Status(_)) => clients.push(client),
            Ok(Value::Error(text)) => {
                assert!(text.contains("max number of clients reached"), "{text}");
                break;
            }
            // The node may hang up before it has read the call.
            Err(_) => break,
            Ok(other) => panic!("{other:?}"),
        }
    }
    clients
}

#[test]
fn a_node_raises_the_limit_of_open_files_to_what_its_clients_need() {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_ports(1));
    let _node = start(dir.path(), port, "ulimit -S -n 100");
    let mut clients = connect(port, 550);
    assert_eq!(clients.len(), 550);
    clients.iter_mut().for_each(|client| drop(client.must(&["PING"])));
}

#[test]
fn a_node_that_may_not_open_enough_files_says_so_and_turns_clients_away() {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_ports(1));
    let node = start(dir.path(), port, "ulimit -n 300");
    let mut clients = connect(port, 550);
    assert!((40..=44).contains(&clients.len()), "{} clients", clients.len());
    assert!(node.said().contains("allows 300 open files, so 44 clients"), "{}", node.said());
    clients.iter_mut().for_each(|client| drop(client.must(&["SET", "k", "v"])));
    // A place that becomes free is taken again.
    drop(clients.pop());
    wait_for("a place", || (connect(port, 1).len() == 1).then_some(()));
}
