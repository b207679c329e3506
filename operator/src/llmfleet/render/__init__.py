"""Pure builders of Kubernetes objects. Same arguments, same object; in the canonical form in which it is stored."""
