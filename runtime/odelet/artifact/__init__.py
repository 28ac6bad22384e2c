"""From the bytes of an artifact to checked facts, or an ArtifactError; it opens no session."""
