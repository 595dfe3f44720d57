use super::Run;
pub fn run(_run: &mut Run) {
    eprintln!("not there yet");
}
