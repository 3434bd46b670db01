//! The life of the package: what it installs, for whom, and what it leaves behind.

use std::process::Command;

use super::root::Root;

/// Mode, owner and group.
fn access(root: &Root, path: &str) -> String {
    root.sh(&format!("stat --format='%a %U:%G' {path}")).trim().to_owned()
}

#[test]
fn package_serves_who_installs_it_and_leaves_footage_and_keys_to_who_removes_it() {
    let root = Root::with_package();
    let said = root.sh("apt-get install --yes /vigie.deb");
    assert!(said.contains("vigie: installed, not started"), "{said}");
    command_is_there(&root);
    configuration_is_the_service_s_alone(&root);
    manual_and_completions_follow_the_command_line(&root);
    unit_starts_what_is_installed(&root);
    footage_outlives_the_package(&root);
}

fn command_is_there(root: &Root) {
    assert_eq!(root.sh("vigie --version").trim(), concat!("vigie ", env!("CARGO_PKG_VERSION")));
    let field = |name: &str| root.sh(&format!("dpkg-query --show --showformat='${{{name}}}' vigie"));
    let depends = field("Depends");
    assert!(depends.contains("libc6 (>= ") && depends.contains("systemd-standalone-sysusers"), "{depends}");
    assert_eq!(field("Recommends"), "ffmpeg");
    let mut sections = Command::new("readelf");
    let sections = sections.args(["--sections", "--wide"]).arg(root.path("/usr/bin/vigie")).output();
    let sections = String::from_utf8(sections.expect("apt-get install binutils").stdout).unwrap();
    assert!(
        sections.contains(".text") && !sections.contains(".debug_info") && !sections.contains(".symtab"),
        "{sections}"
    );
}

fn configuration_is_the_service_s_alone(root: &Root) {
    assert_eq!(access(root, "/etc/vigie"), "750 root:vigie");
    assert_eq!(access(root, "/etc/vigie/vigie.toml"), "640 root:vigie");
    assert_eq!(access(root, "/var/lib/vigie"), "750 vigie:vigie");
    let conffiles = root.sh("dpkg-query --show --showformat='${Conffiles}' vigie");
    assert!(conffiles.contains("/etc/vigie/vigie.toml"), "{conffiles}");
    assert!(root.sh("getent passwd vigie").contains(":/var/lib/vigie:/usr/sbin/nologin"));
    assert!(!root.try_sh("sudo -u nobody cat /etc/vigie/vigie.toml").done);
    assert!(!root.try_sh("sudo -u nobody ls /var/lib/vigie").done);
    let checked = root.sh("sudo -u vigie vigie check-config");
    assert!(checked.contains("/etc/vigie/vigie.toml: sound"), "{checked}");
    assert!(checked.contains("warning: ffmpeg is not installed"), "{checked}");
    assert!(!checked.contains("chmod"), "{checked}");
    assert_eq!(root.sh("cat /usr/share/doc/vigie/examples/vigie.toml"), root.sh("cat /etc/vigie/vigie.toml"));
}

/// Commands and their subcommands, as the help of the command names them, such as `keys show`.
fn commands(root: &Root, of: &str) -> Vec<String> {
    let help = root.sh(&format!("vigie {of} --help"));
    let Some((_, list)) = help.split_once("\nCommands:\n") else { return Vec::new() };
    let names = list.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.split_whitespace().next());
    let names = names.filter(|name| *name != "help").map(|name| format!("{of} {name}").trim().to_owned());
    names.flat_map(|name| std::iter::once(name.clone()).chain(commands(root, &name))).collect()
}

fn manual_and_completions_follow_the_command_line(root: &Root) {
    let commands = commands(root, "");
    for name in ["run", "check-config", "keys show"] {
        assert!(commands.iter().any(|c| c == name), "{commands:?}");
    }
    assert!(!commands.iter().any(|c| c == "generate"), "{commands:?}");
    let mut pages = vec!["vigie".to_owned()];
    pages.extend(commands.iter().map(|command| format!("vigie-{}", command.replace(' ', "-"))));
    for page in &pages {
        let shown = root.sh(&format!("man --warnings {page} 2>&1"));
        assert!(shown.contains("SYNOPSIS") && !shown.contains("warning:"), "{page}: {shown}");
    }
    let shown = root.sh("man vigie-check-config");
    assert!(shown.contains("--camera-mbps") && shown.contains("/etc/vigie/vigie.toml"), "{shown}");
    let installed = root.sh("cd /usr/share/man/man1 && ls vigie*.1.gz");
    assert_eq!(installed.lines().count(), pages.len(), "{installed}");

    let completed = root.sh("source /usr/share/bash-completion/completions/vigie\n\
         COMP_WORDS=(vigie check) COMP_CWORD=1\n\
         _vigie vigie check vigie\n\
         echo \"${COMPREPLY[@]}\"");
    assert_eq!(completed.trim(), "check-config");
    assert!(root.sh("head --lines=1 /usr/share/zsh/vendor-completions/_vigie").contains("#compdef vigie"));
    assert!(root.sh("cat /usr/share/fish/vendor_completions.d/vigie.fish").contains("check-config"));
}

fn unit_starts_what_is_installed(root: &Root) {
    let unit = root.sh("cat /usr/lib/systemd/system/vigie.service");
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("a command");
    root.sh(&format!("sudo -u vigie {start} --help"));
    let user = unit.lines().find_map(|line| line.strip_prefix("User=")).expect("a user");
    root.sh(&format!("id {user}"));
    assert!(root.sh("cat /usr/lib/sysctl.d/vigie.conf").contains("\nnet.core.rmem_max = "));
    // A new installation starts nothing, since its cameras are examples.
    assert!(!root.try_sh("ls /etc/systemd/system/*.wants/vigie.service").done);

    // Where this machine has no systemd, tests/tidy.rs still reads the unit.
    let Some(verified) = root.analyze(&["verify", "--man=no"]) else { return };
    assert!(!verified.text.contains("vigie"), "{}", verified.text);
    let security = root.analyze(&["security", "--offline=true", "--threshold=15", "--no-pager"]).unwrap();
    assert!(security.done, "{}", security.text);
}

fn footage_outlives_the_package(root: &Root) {
    root.sh("sudo -u vigie mkdir -p /var/lib/vigie/keys /var/lib/vigie/store\n\
         echo key | sudo -u vigie tee /var/lib/vigie/keys/gateway.key\n\
         echo footage | sudo -u vigie tee /var/lib/vigie/store/pack.mp4\n\
         chmod 400 /var/lib/vigie/keys/gateway.key\n\
         echo '# our own' >> /etc/vigie/vigie.toml");
    let kept = || {
        assert_eq!(root.sh("cat /var/lib/vigie/store/pack.mp4 /var/lib/vigie/keys/gateway.key"), "footage\nkey\n");
        assert_eq!(access(root, "/var/lib/vigie"), "750 vigie:vigie");
        assert_eq!(access(root, "/var/lib/vigie/keys/gateway.key"), "400 vigie:vigie");
    };
    let configured = || {
        assert!(root.sh("cat /etc/vigie/vigie.toml").ends_with("# our own\n"));
        assert_eq!(access(root, "/etc/vigie/vigie.toml"), "640 root:vigie");
    };
    // An upgrade.
    let said = root.sh("dpkg --install /vigie.deb");
    assert!(!said.contains("not started"), "{said}");
    kept();
    configured();

    let said = root.sh("dpkg --remove vigie");
    assert!(said.contains("Nothing destroys footage at the end of its time any more"), "{said}");
    assert!(!root.try_sh("vigie --version").done);
    kept();
    configured();
    root.sh("dpkg --install /vigie.deb");
    kept();
    configured();

    root.sh("dpkg --purge vigie");
    kept();
    assert!(!root.path("/etc/vigie/vigie.toml").exists());
    // It may hold the only copy of the master key.
    let copy = "/var/lib/vigie/vigie.toml.removed";
    assert!(root.sh(&format!("cat {copy}")).ends_with("# our own\n"));
    assert_eq!(access(root, copy), "640 root:vigie");
    root.sh("dpkg --install /vigie.deb");
    kept();
    assert_eq!(access(root, "/etc/vigie/vigie.toml"), "640 root:vigie");
    assert!(!root.sh("cat /etc/vigie/vigie.toml").contains("# our own"));
}

#[test]
fn nginx_accepts_the_example_of_a_proxy() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_str().unwrap();
    let example = include_str!("../../config/proxy/nginx.conf");
    // Ports that anybody may open.
    let example =
        example.replace("/etc/vigie-tls", folder).replace(":443 ", ":26443 ").replace("listen 443 ", "listen 26443 ");
    let example = example.replace(":80;", ":26080;").replace("listen 80;", "listen 26080;");
    std::fs::write(dir.path().join("vigie.conf"), example).unwrap();
    let whole = format!("pid {folder}/pid;\nevents {{}}\nhttp {{ access_log off; include {folder}/vigie.conf; }}\n");
    std::fs::write(dir.path().join("nginx.conf"), whole).unwrap();
    let arguments = ["-t", "-q", "-p", folder, "-e", "stderr", "-c", &format!("{folder}/nginx.conf")];
    let mut nginx = Command::new("nginx");
    let nginx = nginx.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").args(arguments);
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=vigie.example.org"])
        .args(["-keyout", &format!("{folder}/vigie.key"), "-out", &format!("{folder}/vigie.crt")])
        .output();
    // Where this machine has neither, the example is not tried.
    let (Ok(_), Ok(tested)) = (made, nginx.output()) else { return };
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stderr));
}
