pub(crate) fn run(_: &[String]) -> crate::Status { Ok(1) }
