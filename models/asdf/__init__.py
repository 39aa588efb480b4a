"""ASDF files: their metadata trees and arrays, read within bounds and written."""
