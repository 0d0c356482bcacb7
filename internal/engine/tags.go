package engine

// Tags that every resource made carries, so that what leaks can be found and collected (design.md, "Core types").
const (
	TagRun     = "ingot-run"
	TagExpires = "ingot-expires" // RFC 3339; gc leaves younger groups alone
)
