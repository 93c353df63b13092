"""Parts of pages that draw with Streamlit."""
