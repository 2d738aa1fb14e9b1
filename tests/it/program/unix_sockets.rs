//! Unix sockets: other files at the path are left alone, a stale socket is replaced, and the file's mode and group
//! determine who may connect.

use std::fs::{self, FileType, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use socket2::{Domain, SockAddr, Socket, Type};

use super::client::request;
use super::harness::{FakeBox, Folder, Program, boxgate, command, until, write_file};

const ME: &str = "/2.0/users/me";

fn listen_at(path: &Path, parameters: &str) -> String {
    format!("address = \"unix:{}{parameters}\"", path.display())
}

/// A gateway at this socket; returns when it listens.
fn start(at: &FakeBox, path: &Path, parameters: &str) -> Program {
    let folder = Folder::new();
    write_file(&folder, at, &listen_at(path, parameters), "");
    let run = command(env!("CARGO_BIN_EXE_boxgate"), &folder);
    let program = Program::spawn(folder, run);
    assert_eq!(program.callers, format!("unix:{}", path.display()));
    program
}

/// Checks that a gateway at this socket does not start; returns its message.
fn refused(at: &FakeBox, path: &Path) -> String {
    let folder = Folder::new();
    write_file(&folder, at, &listen_at(path, ""), "");
    let ended = boxgate(&folder, &[]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(said.contains(&format!("cannot listen on unix:{}: address in use", path.display())), "{said}");
    said
}

fn answers(path: &Path, folder: &Folder) -> bool {
    let mut curl = command("curl", folder);
    curl.args(["--silent", "--fail", "--unix-socket"]).arg(path).arg(format!("http://localhost{ME}"));
    let output = curl.output().unwrap();
    output.status.success() && String::from_utf8_lossy(&output.stdout).contains("\"login\"")
}

/// The status of a request of this user, as curl sees it. For another user than the own one, the process must be root.
fn status_of(path: &Path, folder: &Folder, uid: u32, target: &str) -> String {
    let mut curl = command("curl", folder);
    curl.args(["--silent", "--write-out", "%{http_code}", "--output", "/dev/null", "--unix-socket"]);
    curl.arg(path).arg(format!("http://localhost{target}"));
    if uid != own_user() {
        curl.uid(uid).current_dir("/");
    }
    String::from_utf8(curl.output().unwrap().stdout).unwrap()
}

fn own_user() -> u32 {
    nix::unistd::getuid().as_raw()
}

#[test]
fn a_user_is_known_by_the_process_that_connects() {
    let (at, folder, own) = (FakeBox::start(), Folder::new(), own_user());
    let other = own + 1;
    // Otherwise the other user would not reach the sockets in it.
    fs::set_permissions(&*folder, fs::Permissions::from_mode(0o711)).unwrap();
    let (callers, operators) = (folder.join("gate.sock"), folder.join("admin.sock"));
    let text = format!(
        "{}\n[listen]\naddress = [\"127.0.0.1:0\", \"unix:{}?mode=0666\"]\nsources = [\"uid:{own}\", \"uid:{other}\"]\n\
         [admin]\naddress = [\"127.0.0.1:0\", \"unix:{}?mode=0666\"]\nsources = [\"127.0.0.2\", \"uid:{own}\"]\n\
         [[app]]\nname = \"own\"\npath = \"/own\"\nsources = [\"uid:{own}\"]\n\
         [[app]]\nname = \"other\"\npath = \"/other\"\nsources = [\"uid:{other}\"]\ndeny = [\"delete\"]\n\
         [[app]]\nname = \"all\"\nsources = [\"loopback\"]\npath = \"/all\"\n[log]\naudit = \"audit.jsonl\"\n",
        at.tables(&folder),
        callers.display(),
        operators.display(),
    );
    folder.write("proxy.toml", &text);
    let run = command(env!("CARGO_BIN_EXE_boxgate"), &folder);
    let program = Program::spawn(folder, run);
    let get = |uid, target: &str| status_of(&callers, &program.folder, uid, &format!("{target}{ME}"));
    assert_eq!([get(own, "/own"), get(own, "/other"), get(own, "/all")], ["200", "403", "200"]);
    let tcp = program.callers.split(' ').next().unwrap();
    assert_eq!(request(tcp, "GET", &format!("/all{ME}"), "").status, 403, "TCP has no user");
    let status = |uid| status_of(&operators, &program.folder, uid, "/healthz");
    assert_eq!(status(own), "200");
    // Only root can be another user.
    if own == 0 {
        assert_eq!([get(other, "/own"), get(other, "/other"), get(other, "/all")], ["403", "200", "200"]);
        assert_eq!((get(other + 1, "/all").as_str(), status(other).as_str()), ("403", "403"));
    }
    let line = program.out.wait_for(&[" app=own ", " status=200 "]);
    assert!(line.contains(" client=127.0.0.1 "), "{line}");
    // The audit log tells users apart.
    let mut curl = command("curl", &program.folder);
    curl.args(["--silent", "--request", "DELETE", "--unix-socket"]).arg(&callers);
    assert!(curl.arg("http://localhost/own/2.0/files/17").output().unwrap().status.success());
    let told = || fs::read_to_string(program.folder.join("audit.jsonl")).unwrap();
    until("the audit line is written", || told().ends_with('\n'));
    assert!(told().contains(&format!("\"app\":\"own\",\"client\":\"uid:{own}\"")), "{}", told());
}

fn identity(of: &Metadata) -> (u64, u64, FileType) {
    (of.dev(), of.ino(), of.file_type())
}

/// A socket's file that nobody listens on, as after a crash.
fn leave_behind(path: &Path) {
    drop(UnixListener::bind(path).unwrap());
    assert!(path.exists());
}

#[test]
fn a_socket_serves_replaces_what_a_crash_left_behind_and_leaves_none() {
    let (at, place) = (FakeBox::start(), Folder::new());
    let path = place.join("gate.sock");
    for _ in 0..2 {
        leave_behind(&path);
        let mut program = start(&at, &path, "");
        assert!(answers(&path, &program.folder));
        program.terminate();
        assert_eq!(program.exited().code(), Some(0));
        assert!(!path.exists());
    }
}

#[test]
fn a_gateway_that_was_killed_is_replaced() {
    let (at, place) = (FakeBox::start(), Folder::new());
    let path = place.join("gate.sock");
    drop(start(&at, &path, ""));
    assert!(path.exists(), "it was killed");
    let program = start(&at, &path, "");
    assert!(answers(&path, &program.folder));
}

#[test]
fn files_other_than_sockets_are_neither_removed_nor_changed() {
    let (at, place) = (FakeBox::start(), Folder::new());
    let path = place.join("it");
    let stale = place.join("stale.sock");
    leave_behind(&stale);
    let make: [(&str, &dyn Fn()); 6] = [
        ("a regular file", &|| fs::write(&path, "precious").unwrap()),
        ("a directory", &|| fs::create_dir(&path).unwrap()),
        ("a FIFO", &|| assert!(Command::new("mkfifo").arg(&path).status().unwrap().success())),
        ("a symbolic link", &|| symlink("nowhere", &path).unwrap()),
        ("a symbolic link", &|| symlink("precious", &path).unwrap()),
        ("a symbolic link", &|| symlink("stale.sock", &path).unwrap()),
    ];
    let precious = place.write("precious", "precious");
    for (what, make) in make {
        make();
        let before = identity(&fs::symlink_metadata(&path).unwrap());
        let said = refused(&at, &path);
        assert!(said.contains(what), "{what}: {said}");
        assert_eq!(identity(&fs::symlink_metadata(&path).unwrap()), before, "{what}");
        if what == "a regular file" {
            assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        }
        match what {
            "a directory" => fs::remove_dir(&path).unwrap(),
            _ => fs::remove_file(&path).unwrap(),
        }
    }
    assert_eq!(fs::read_to_string(precious).unwrap(), "precious", "what a link leads to is not touched");
    assert!(fs::symlink_metadata(stale).unwrap().file_type().is_socket());
    assert!(!place.join("nowhere").exists());
}

#[test]
fn a_live_socket_of_any_type_is_left_alone() {
    let (at, place) = (FakeBox::start(), Folder::new());
    let path = place.join("gate.sock");

    let datagrams = UnixDatagram::bind(&path).unwrap();
    refused(&at, &path);
    UnixDatagram::unbound().unwrap().send_to(b"still there", &path).unwrap();
    let mut received = [0; 32];
    let count = datagrams.recv(&mut received).unwrap();
    assert_eq!(&received[..count], b"still there");
    fs::remove_file(&path).unwrap();

    // A socket of type SEQPACKET.
    let packets = Socket::new(Domain::UNIX, Type::SEQPACKET, None).unwrap();
    packets.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    packets.listen(1).unwrap();
    refused(&at, &path);
    assert!(path.exists());
    fs::remove_file(&path).unwrap();

    let first = start(&at, &path, "");
    assert!(refused(&at, &path).contains("is another instance running?"));
    assert!(answers(&path, &first.folder));
}

#[test]
fn a_listener_whose_queue_is_full_is_left_alone() {
    let (at, place) = (FakeBox::start(), Folder::new());
    let path = place.join("gate.sock");
    let address = SockAddr::unix(&path).unwrap();
    let stream = || Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    let busy = stream();
    busy.bind(&address).unwrap();
    busy.listen(0).unwrap();
    let mut waiting = Vec::new();
    let full = loop {
        let caller = stream();
        caller.set_nonblocking(true).unwrap();
        match caller.connect(&address) {
            Ok(()) => waiting.push(caller),
            Err(error) => break error,
        }
        assert!(waiting.len() < 10_000, "the queue has an end");
    };
    assert_eq!(full.kind(), std::io::ErrorKind::WouldBlock, "{full}");
    let before = identity(&fs::symlink_metadata(&path).unwrap());
    refused(&at, &path);
    assert_eq!(identity(&fs::symlink_metadata(&path).unwrap()), before);
    drop(waiting);
    busy.accept().expect("those that waited are still to be had");
}

#[test]
fn at_its_end_a_gateway_leaves_its_successors_socket_alone() {
    let (at, place) = (FakeBox::start(), Folder::new());
    let path = place.join("gate.sock");
    let mut first = start(&at, &path, "");
    fs::remove_file(&path).unwrap();
    let second = start(&at, &path, "");
    first.terminate();
    assert_eq!(first.exited().code(), Some(0));
    assert!(answers(&path, &second.folder));

    // Nor does it remove what is no socket at all.
    let mut second = second;
    fs::remove_file(&path).unwrap();
    fs::write(&path, "precious").unwrap();
    second.terminate();
    assert_eq!(second.exited().code(), Some(0));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

/// A group that this process may give its files to: root any, others their own ones.
fn some_group(folder: &Folder) -> String {
    let said = |flags: &str| {
        let output = command("id", folder).arg(flags).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    match said("-un").as_str() {
        "root" => "daemon".to_owned(),
        _ => said("-Gn").split(' ').next_back().unwrap().to_owned(),
    }
}

fn group_of(path: &Path, folder: &Folder) -> String {
    let output = command("stat", folder).args(["--format", "%G"]).arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn mode_and_group_are_set_on_callers_and_operators_sockets() {
    let (at, folder) = (FakeBox::start(), Folder::new());
    let group = some_group(&folder);
    let (callers, operators) = (folder.join("gate.sock"), folder.join("admin.sock"));
    let text = format!(
        "{}\n[listen]\n{}\n[admin]\n{}\n",
        at.tables(&folder),
        listen_at(&callers, &format!("?mode=0660&group={group}")),
        listen_at(&operators, "?mode=0600"),
    );
    folder.write("proxy.toml", &text);
    // Whatever it leaves by itself.
    let mut run = command("sh", &folder);
    run.args(["-c", "umask 0; exec \"$0\"", env!("CARGO_BIN_EXE_boxgate")]);
    let program = Program::spawn(folder, run);
    let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&callers), mode(&operators)), (0o660, 0o600));
    assert_eq!(group_of(&callers, &program.folder), group);
    assert!(answers(&callers, &program.folder));
    assert_eq!(program.callers, format!("unix:{}", callers.display()), "without parameters");
}

#[test]
fn an_unknown_group_and_a_bad_mode_are_configuration_errors_with_their_position() {
    let (at, place) = (FakeBox::start(), Folder::new());
    let path = place.join("gate.sock");
    for (parameters, why) in [
        ("?group=no-such-group-here", "no group of this machine is named \"no-such-group-here\""),
        ("?mode=0999", "the mode \"0999\" must have three octal digits"),
        ("?mode=0660&owner=root", "\"owner\" is not a parameter"),
    ] {
        let folder = Folder::new();
        let file = write_file(&folder, &at, &listen_at(&path, parameters), "");
        let text = fs::read_to_string(file).unwrap();
        let line = text.lines().position(|line| line.contains("unix:")).unwrap() + 1;
        let ended = boxgate(&folder, &[]);
        assert_eq!(ended.status.code(), Some(2), "{ended:?}");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(said.contains(&format!("proxy.toml:{line}:11: listen.address: ")), "{said}");
        assert!(said.contains(why) && said.contains("?mode=0660&group=apps"), "{said}");
        assert!(!path.exists());

        let address = format!("unix:{}{parameters}", path.display());
        write_file(&folder, &at, "address = \"127.0.0.1:0\"", "");
        let by_flag = boxgate(&folder, &["run", "--admin", &address]);
        assert_eq!(by_flag.status.code(), Some(2), "{by_flag:?}");
        assert!(String::from_utf8_lossy(&by_flag.stderr).contains(why), "{by_flag:?}");
    }
}

#[test]
fn one_path_is_one_address_whatever_its_parameters() {
    let (at, folder) = (FakeBox::start(), Folder::new());
    let path = folder.join("gate.sock");
    let both = format!("address = [\"unix:{0}\", \"unix:{0}?mode=0660\"]", path.display());
    write_file(&folder, &at, &both, "");
    let ended = boxgate(&folder, &["check", "--offline"]);
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    assert!(String::from_utf8_lossy(&ended.stderr).contains("is listed twice"), "{ended:?}");
}
