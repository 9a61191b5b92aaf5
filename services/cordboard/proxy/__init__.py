"""The Proxy: runs actions of integrations on connections."""
